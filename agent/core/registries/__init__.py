"""What registries say about a reference: outcomes, digests over listings, and how an answer completes a reference."""
