"""Who may call a service: nobody in particular, whoever has a token, or named Google accounts."""

from longcall.service.auth.config import AuthConfig, AuthMode
from longcall.service.auth.middleware import Authentication
from longcall.service.auth.verifiers import Verifier, make_verifier

__all__ = ["AuthConfig", "AuthMode", "Authentication", "Verifier", "make_verifier"]
