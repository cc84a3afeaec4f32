"""What an app is told from outside: the usual environment variables of Dapr, and Sidestream's own.

Read once, by the composition root; nothing is read at import.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings of one app. Every field can be given by the environment variable in its alias."""

    model_config = SettingsConfigDict(populate_by_name=True, extra="ignore")

    app_id: str = Field(default="app", validation_alias="APP_ID")
    app_port: int = Field(default=8000, validation_alias="APP_PORT", ge=0, le=65535)
    dapr_http_port: int = Field(default=3500, validation_alias="DAPR_HTTP_PORT", ge=1, le=65535)
    dapr_grpc_port: int = Field(default=50001, validation_alias="DAPR_GRPC_PORT", ge=1, le=65535)
    dapr_api_token: str = Field(default="", repr=False, validation_alias="DAPR_API_TOKEN", description="what the sidecar asks of us")
    app_api_token: str = Field(default="", repr=False, validation_alias="APP_API_TOKEN", description="what we ask of the sidecar")
    host: str = Field(default="127.0.0.1", validation_alias="SIDESTREAM_HOST", description="address the app listens on")
    components: Path = Field(default=Path("components"), validation_alias="SIDESTREAM_COMPONENTS", description="folder of Dapr resources")
    pubsub: str = Field(default="pubsub", validation_alias="SIDESTREAM_PUBSUB", description="name of the pub/sub component")
    data: Path = Field(default=Path(".sidestream/data"), validation_alias="SIDESTREAM_DATA", description="folder of stores and read models")
    database_url: str = Field(
        default="",
        repr=False,
        validation_alias="SIDESTREAM_DATABASE_URL",
        description="postgresql://… for read models; empty: SQLite files",
    )
    store_url: str = Field(
        default="",
        repr=False,
        validation_alias="SIDESTREAM_STORE_URL",
        description="postgresql://… for event stores, which then serve several processes of a service; empty: SQLite files",
    )
    answer_days: float = Field(
        default=30.0,
        validation_alias="SIDESTREAM_ANSWER_DAYS",
        gt=0,
        description="how long the answer under an Idempotency-Key is kept",
    )
    follow: Literal["log", "inbox"] = Field(
        default="log",
        validation_alias="SIDESTREAM_FOLLOW",
        description="read the broker's log, or keep what is delivered in a log of our own",
    )
    inbox_began_late: bool = Field(
        default=False,
        validation_alias="SIDESTREAM_INBOX_BEGAN_LATE",
        description="events were published before this inbox: the first version it has of a stream is the beginning",
    )
    sweep_seconds: float = Field(
        default=1.0, validation_alias="SIDESTREAM_SWEEP_SECONDS", gt=0, description="look at the log without a bell"
    )
