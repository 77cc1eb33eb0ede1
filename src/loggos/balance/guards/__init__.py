"""Whether a request may be sent, sent again, or sent twice."""
