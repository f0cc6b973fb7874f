"""The models that ship in the package, and how they were trained."""
