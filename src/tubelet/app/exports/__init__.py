"""What people take away: tables, subtitles, a film with its scores, a page about it, and the model itself."""
