"""Django settings: base is shared; embedded (`manage.py up`), production and test each say what differs."""
