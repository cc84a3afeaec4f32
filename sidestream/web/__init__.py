"""The HTTP edge that all services and projections share: problems, limits, health, the bell, paging, serving.

It names no business thing. An app's `bootstrap.py` has `create_app(settings, backbone) -> FastAPI`, made with `new_app`;
its `__main__.py` hands that to `serve`.
"""
