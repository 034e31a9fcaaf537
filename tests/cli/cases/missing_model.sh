moesaic inspect does-not-exist
