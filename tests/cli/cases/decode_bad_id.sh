echo '[1, 999999]' | moesaic tokenize --decode
