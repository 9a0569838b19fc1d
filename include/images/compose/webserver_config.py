"""Airflow's FAB auth manager: users and passwords in its own database.

For a directory or single sign-on set `AUTH_TYPE` to `AUTH_LDAP` or `AUTH_OAUTH` here, and keep user names equal to
those in the committee files.
"""

from flask_appbuilder.const import AUTH_DB

AUTH_TYPE = AUTH_DB
# Nobody makes an account for themselves.
AUTH_USER_REGISTRATION = False
WTF_CSRF_ENABLED = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_HTTPONLY = True
