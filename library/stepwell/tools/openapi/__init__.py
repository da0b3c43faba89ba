"""Operations of HTTP services, as their OpenAPI documents describe them, as tools."""

from stepwell.tools.openapi.config import OpenApi

__all__ = ["OpenApi"]
