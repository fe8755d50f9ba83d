"""A page in the browser: films, what a model finds in them, and corrections of it. ``tubelet app`` starts it.

``server`` puts together the endpoints of ``film_routes``, ``label_routes`` and ``upload_routes``, behind ``guard``. The
server decodes nothing and holds no model: ``workroom`` gives both to processes that may crash or hang.
"""
