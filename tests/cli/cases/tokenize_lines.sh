printf '"Once upon a time"\n"caf\\u00e9 \\ud83d\\ude00"\n""\n' >lines
moesaic tokenize <lines >ids
moesaic tokenize --decode <ids
