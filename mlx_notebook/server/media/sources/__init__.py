"""Where images, sounds, PDFs and videos of requests come from: base64, uploads, other servers."""
