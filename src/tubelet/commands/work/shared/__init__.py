"""What a command does where several calls share its work (``tubelet.session.shards``)."""
