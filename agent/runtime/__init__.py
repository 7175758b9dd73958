"""A small controller runtime for asyncio.

Controllers are level-based: an event only says which key to look at, and a pass looks at the whole state of that key.
Five parts make that work, and each can be read on its own.

`watch` follows one kind of object. A pure state machine (`step`) turns pages, frames and failures into events; a
`Watcher` does the I/O the state asks for. What is at the other end is a protocol, `ListWatch`; adapters provide it.

`store` holds what a watch has seen, with indexes, and tells subscribers `(old, new)`. A new listing replaces the
content in one step. Subscribers decide which keys an object concerns and add those to a queue.

`queue` hands out keys: deduplicated, by priority and due time, never one that is being worked on. Back-off is the
queue's business, so that a pass only has to say that it failed.

`controller` runs passes, up to a number of workers. A pass returns `Done` or `RequeueAfter` or raises an error whose
class says what follows. Waiting never holds a worker: it is a due time in the queue, or a coroutine on the side whose
end queues the key again.

`rounds` looks at things that are due from time to time, without a queue.

`manager` starts these in order and stops them in reverse, around `leadership`, the election over a Lease. `lag`
measures how late the loop runs, and `heap` keeps garbage collection from making it late.

Everything runs on one loop and is not thread-safe. Times are seconds, and clocks are monotonic.
"""
