"""Render pages of PDFs and decode frames of videos, in processes of their own."""
