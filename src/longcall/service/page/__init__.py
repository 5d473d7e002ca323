"""The page at `/calls/` for a person who watches: server-rendered, and of use without scripts."""

from longcall.service.page.routes import page_routes

__all__ = ["page_routes"]
