"""Models of others, on the network: OpenModelDB's list of upscalers, and the repositories of Hugging Face."""
