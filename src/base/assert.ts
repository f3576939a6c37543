/** Programmer errors. They stay checked in production and stop the connection, not the process. */

/** A broken invariant: a bug in godwit, never a consequence of what a peer or a user did. */
export class InvariantError extends Error {
  override readonly name: string = "InvariantError";
}

/**
 * Checks an invariant.
 *
 * @throws InvariantError if `condition` is false.
 */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new InvariantError(message);
}

/** Marks a branch that the type system proves unreachable. @throws InvariantError always. */
export function unreachable(value: never): never {
  throw new InvariantError(`unreachable value: ${String(value)}`);
}
