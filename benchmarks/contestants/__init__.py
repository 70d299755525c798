"""Small programs that run as processes of their own: parts of our engine alone, and limits to hold it against."""
