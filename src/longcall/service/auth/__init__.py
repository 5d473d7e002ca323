"""Who may call a service: nobody in particular, whoever has a token, or named Google accounts.

What stands before the application is `longcall.service.auth.middleware`, which needs Starlette.
"""

from longcall.service.auth.config import AuthConfig, AuthMode
from longcall.service.auth.verifiers import Verifier, make_verifier

__all__ = ["AuthConfig", "AuthMode", "Verifier", "make_verifier"]
