"""Reads and checks agent.toml: what a person configures."""

from maas_agent.config.checks import unprotected as unprotected
from maas_agent.config.load import load_config as load_config
from maas_agent.config.schema import ACCELERATOR as ACCELERATOR
from maas_agent.config.schema import ID as ID
from maas_agent.config.schema import BrokerSettings as BrokerSettings
from maas_agent.config.schema import CommandSource as CommandSource
from maas_agent.config.schema import Config as Config
from maas_agent.config.schema import DeviceSettings as DeviceSettings
from maas_agent.config.schema import LimitSettings as LimitSettings
from maas_agent.config.schema import MqttSource as MqttSource
from maas_agent.config.schema import OutboxSettings as OutboxSettings
from maas_agent.config.schema import PipelineSettings as PipelineSettings
from maas_agent.config.schema import ReportSettings as ReportSettings
from maas_agent.config.schema import RepositorySettings as RepositorySettings
from maas_agent.config.schema import ShadowSettings as ShadowSettings
from maas_agent.config.schema import Source as Source
from maas_agent.config.schema import StoreSettings as StoreSettings
from maas_agent.config.schema import UpdateSettings as UpdateSettings
