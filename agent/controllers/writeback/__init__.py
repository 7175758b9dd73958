"""Write-back: after a rollback, the rejected reference is put back in Git, where its owner allows that."""

from agent.controllers.writeback.reconciler import WriteBackParts, WriteBackReconciler, watch_rejections
from agent.controllers.writeback.writing import Writer

__all__ = ["WriteBackParts", "WriteBackReconciler", "Writer", "watch_rejections"]
