moesaic
