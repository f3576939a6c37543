/** `list()`: what a peer hands out. */
import type { ListedEntry } from "../transfer/client-session.ts";
import type { DialOptions } from "./options.ts";
import { runSession } from "./run-session.ts";
import { parseTarget } from "./target.ts";
import { startTransfer } from "./transfer.ts";

/** One entry of a listing. Its strings come from the peer: escape them where they are shown. */
export type Entry = ListedEntry;

/**
 * Lists the directory `HOST[:PORT][/PATH]` one level deep, or one file.
 *
 * @returns the entries as they come; the iteration throws a GodwitError when the listing fails.
 */
export async function* list(from: string, options: DialOptions = {}): AsyncGenerator<Entry, void> {
  const target = parseTarget(from);
  const held: Entry[] = [];
  let wake: () => void = () => undefined;
  let isEnded = false;
  const transfer = startTransfer((context) =>
    runSession(
      target,
      { mode: "list", paths: [target.path.replace(/\/+$/, "")] },
      options,
      context,
      (session, host, connection) => {
        host.eachTurn(connection, () => {
          for (const entry of session.takeListed()) held.push(entry);
          if (held.length > 0) wake();
        });
        return () => {
          for (const entry of session.takeListed()) held.push(entry);
        };
      },
    ),
  );
  const end = transfer.result.finally(() => {
    isEnded = true;
    wake();
  });
  end.catch(() => undefined);
  for (;;) {
    const entry = held.shift();
    if (entry !== undefined) yield entry;
    else if (isEnded) break;
    else {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  }
  await end;
}
