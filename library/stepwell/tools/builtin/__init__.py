"""Recipe files that come with Stepwell."""
