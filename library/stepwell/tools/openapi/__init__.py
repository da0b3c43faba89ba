"""Operations of HTTP services, as their OpenAPI documents describe them, as tools."""

from stepwell.tools.openapi.source import OpenApi, OpenApiSource

__all__ = ["OpenApi", "OpenApiSource"]
