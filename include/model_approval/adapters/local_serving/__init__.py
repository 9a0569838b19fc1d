"""The local target: models served by processes on this machine.

The deployer writes what it wants into a folder, the supervisor (`embedded/serving.py`) makes it so and writes back what
is; neither needs the other to be running, and both survive being killed.
"""

from model_approval.adapters.local_serving.deployer import LocalDeployer
from model_approval.adapters.local_serving.state import Desired, Observed, ServingNow, ServingState

__all__ = ["Desired", "LocalDeployer", "Observed", "ServingNow", "ServingState"]
