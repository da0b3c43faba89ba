"""What workflow authors import; see `stepwell.sdk`. Only the standard library is loaded."""
