"""Language models: from GGUF files and Hugging Face directories to plans, and running them."""
