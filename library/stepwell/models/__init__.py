"""Language models by name, behind the SDKs of their providers. The SDKs are imported when a model is first asked."""

from stepwell.models.host import ModelHost
from stepwell.models.names import Endpoint, ModelNames
from stepwell.models.prices import PriceList, read_price

__all__ = ["Endpoint", "ModelHost", "ModelNames", "PriceList", "read_price"]
