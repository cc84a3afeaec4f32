"""What the launcher is told from outside, beside dapr.yaml."""

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class LauncherSettings(BaseSettings):
    """Settings of `sidestream up` and `sidestream broker start`."""

    model_config = SettingsConfigDict(populate_by_name=True, extra="ignore")

    broker: str = Field("", validation_alias="SIDESTREAM_BROKER", description="host:port of another broker; empty: our own")
    appendfsync: Literal["everysec", "always"] = Field(
        "always",
        validation_alias="SIDESTREAM_APPENDFSYNC",
        description="our broker's append-only file: `always` keeps what was confirmed; `everysec` can lose the last second of it",
    )
    tokens: Literal["on", "off"] = Field(
        "off",
        validation_alias="SIDESTREAM_TOKENS",
        description="on: sidecars and apps ask each other for tokens that are made at every start; off: what the environment says",
    )
    pubsub: str = Field("pubsub", validation_alias="SIDESTREAM_PUBSUB", description="name of the pub/sub component")
