"""A model card of one run, in the format of Hugging Face's hub."""
