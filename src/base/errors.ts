/**
 * The one table of failures: stable code, exit status, wire code, and whether trying again can help.
 *
 * Read by the error class, the CLOSE frame, the command line's exit status and `docs/errors.md`.
 * Exit statuses are those of docs/guide/exit-status.md.
 */

/** One row of the table. */
export interface ErrorSpec {
  /** Code carried by a CLOSE or REFUSED message on the wire; unique. */
  readonly wire: number;
  /** Process exit status. */
  readonly exit: number;
  /** Whether the same command may succeed later without a change by the user. */
  readonly retryable: boolean;
}

/** All failures godwit reports, by stable code. Wire codes are never reused for another meaning. */
export const ERRORS = {
  // 1: a bug
  INTERNAL: { wire: 0x01, exit: 1, retryable: false },
  // 2: usage and configuration
  USAGE: { wire: 0x02, exit: 2, retryable: false },
  CONFIGURATION: { wire: 0x03, exit: 2, retryable: false },
  PORT_IN_USE: { wire: 0x04, exit: 2, retryable: false },
  INSECURE_KEY_FILE: { wire: 0x05, exit: 2, retryable: false },
  // 3: some files or receivers failed
  PARTIAL: { wire: 0x10, exit: 3, retryable: true },
  // 4: local files
  SOURCE_MISSING: { wire: 0x11, exit: 4, retryable: false },
  SOURCE_UNREADABLE: { wire: 0x12, exit: 4, retryable: false },
  SOURCE_SPECIAL: { wire: 0x13, exit: 4, retryable: false },
  DESTINATION_UNWRITABLE: { wire: 0x14, exit: 4, retryable: false },
  DESTINATION_SPECIAL: { wire: 0x15, exit: 4, retryable: false },
  DISK_ERROR: { wire: 0x16, exit: 4, retryable: false },
  NOT_FOUND: { wire: 0x17, exit: 4, retryable: false },
  // 5: space
  NO_SPACE: { wire: 0x18, exit: 5, retryable: true },
  FILE_TOO_LARGE: { wire: 0x19, exit: 5, retryable: false },
  // 6: network
  UNREACHABLE: { wire: 0x20, exit: 6, retryable: true },
  NAME_NOT_RESOLVED: { wire: 0x21, exit: 6, retryable: true },
  HANDSHAKE_TIMEOUT: { wire: 0x22, exit: 6, retryable: true },
  IDLE_TIMEOUT: { wire: 0x23, exit: 6, retryable: true },
  NO_PROGRESS: { wire: 0x24, exit: 6, retryable: true },
  PEER_GONE: { wire: 0x25, exit: 6, retryable: true },
  // 7: authentication
  UNKNOWN_PEER: { wire: 0x30, exit: 7, retryable: false },
  CHANGED_KEY: { wire: 0x31, exit: 7, retryable: false },
  PIN_MISMATCH: { wire: 0x32, exit: 7, retryable: false },
  WRONG_CODE: { wire: 0x33, exit: 7, retryable: false },
  NOT_AUTHORIZED: { wire: 0x34, exit: 7, retryable: false },
  BAD_SIGNATURE: { wire: 0x35, exit: 7, retryable: false },
  // 8: integrity
  SOURCE_CHANGED: { wire: 0x38, exit: 8, retryable: true },
  VERIFICATION_FAILED: { wire: 0x39, exit: 8, retryable: false },
  // 9: policy
  EXISTS: { wire: 0x40, exit: 9, retryable: false },
  UNSAFE_NAME: { wire: 0x41, exit: 9, retryable: false },
  OVER_LIMIT: { wire: 0x42, exit: 9, retryable: false },
  DECLINED: { wire: 0x43, exit: 9, retryable: false },
  NAME_COLLISION: { wire: 0x44, exit: 9, retryable: false },
  // 10: protocol
  VERSION_MISMATCH: { wire: 0x50, exit: 10, retryable: false },
  PROTOCOL_VIOLATION: { wire: 0x51, exit: 10, retryable: false },
  FLOW_CONTROL: { wire: 0x52, exit: 10, retryable: false },
  DECODE: { wire: 0x53, exit: 10, retryable: false },
  AEAD_LIMIT: { wire: 0x54, exit: 10, retryable: true },
  // 11: busy
  BUSY: { wire: 0x58, exit: 11, retryable: true },
  LOCKED: { wire: 0x59, exit: 11, retryable: true },
  // 128+n: a signal; the process adds the signal's number
  INTERRUPTED: { wire: 0x60, exit: 130, retryable: true },
} as const satisfies Record<string, ErrorSpec>;

/** Stable name of a failure. */
export type ErrorCode = keyof typeof ERRORS;

/** Facts that some failures carry beside their sentence. */
export interface ErrorDetails {
  /** File or directory the failure is about, as the user named it. */
  readonly path?: string;
  /** Peer the failure is about, as the user named it. */
  readonly peer?: string;
  /** Underlying error, when there is one. */
  readonly cause?: unknown;
}

/**
 * A foreseeable failure: one sentence with cause and next step, and a stable `code`.
 *
 * Callers test `code` and `retryable`, never the class or the text.
 */
export class GodwitError extends Error {
  override readonly name: string = "GodwitError";
  readonly code: ErrorCode;
  readonly path: string | undefined;
  readonly peer: string | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.path = details.path;
    this.peer = details.peer;
  }

  /** Whether the same command may succeed later without a change by the user. */
  get retryable(): boolean {
    return ERRORS[this.code].retryable;
  }

  /** Process exit status for this failure. */
  get exit(): number {
    return ERRORS[this.code].exit;
  }

  /** Code carried on the wire for this failure. */
  get wire(): number {
    return ERRORS[this.code].wire;
  }
}

const byWire: ReadonlyMap<number, ErrorCode> = new Map(
  (Object.keys(ERRORS) as ErrorCode[]).map((code) => [ERRORS[code].wire, code]),
);

/** The failure a wire code stands for, or `undefined` for a code this version does not know. */
export function errorCodeFromWire(wire: number): ErrorCode | undefined {
  return byWire.get(wire);
}

/** Bytes from outside that do not parse: carries the offset at which they stopped making sense. */
export class DecodeError extends GodwitError {
  override readonly name: string = "DecodeError";
  readonly offset: number;

  constructor(message: string, offset: number) {
    super("DECODE", message);
    this.offset = offset;
  }
}
