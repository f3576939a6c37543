/** `sendToMany()`: push files and trees to many receivers at once, each with a verdict of its own. */
import { EventStream } from "./event-stream.ts";
import { Fleet } from "./fleet.ts";
import type { GroupTransfer, GroupUpdate, SendToManyOptions } from "./group-transfer.ts";
import { asGodwitError } from "./transfer.ts";

/**
 * Pushes files and trees to many receivers over one socket. The source is read and hashed once; each
 * receiver has its own window and rate, and none waits for another. A receiver that fails does not
 * reject the result: look at `exit` and `receivers`.
 */
export function sendToMany(source: string | readonly string[], options: SendToManyOptions): GroupTransfer {
  const events = new EventStream<GroupUpdate>();
  const result = Promise.resolve()
    .then(async () => {
      const fleet = new Fleet(source, options, events);
      return await fleet.run();
    })
    .catch((error: unknown) => {
      throw asGodwitError(error);
    })
    .finally(() => events.end());
  result.catch(() => undefined);
  return { result, [Symbol.asyncIterator]: () => events[Symbol.asyncIterator]() };
}
