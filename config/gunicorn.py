"""The web server, the same in the demo, in production and in benchmarks.

Started by `python -m gunicorn -c python:config.gunicorn`.
"""

from config.environment import read, read_int

wsgi_app = "config.wsgi"
bind = f"{read('str', 'HOST', '127.0.0.1')}:{read_int('PORT', 8000, least=1)}"
worker_class = "gthread"
workers = read_int("WEB_PROCESSES", 2, least=1)
threads = read_int("WEB_THREADS", 8, least=1)
timeout = 120  # a large upload or export
graceful_timeout = 10
control_socket_disable = True  # nothing but the one port
