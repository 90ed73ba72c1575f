"""The embedded platform: everything that Strongroom needs on one host, started and kept alive by `manage.py up`.

PostgreSQL and Valkey are real servers out of wheels, run by ourselves as child processes. Read in this order: home
(what is kept where), server_account (who runs the servers), postgres and valkey (how), child and supervisor (keeping
them alive), platform_processes (ours), startup (the whole sequence).
"""
