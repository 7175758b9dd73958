"""What two revisions of a repository would build, found from their files alone. Pure: bytes are read by the caller."""
