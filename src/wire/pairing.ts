/** Payloads of PAIR and PAIR_REPLY. Source: docs/spec/pairing.md §4. */
import { ByteReader } from "../base/bytes.ts";
import { DecodeError } from "../base/errors.ts";

/** Bytes of one side's share of the key exchange. */
export const SHARE_BYTES = 32;

/** What a responder says to an attempt, in the order of their codes on the wire. */
const STATUSES = ["share", "wrong", "burnt", "expired", "used", "none"] as const;

/**
 * `share`: the exchange goes on. `wrong`: the code typed in is not the one shown. `burnt`: too many
 * wrong ones were tried. `expired`, `used`: its time is over, or somebody paired with it. `none`: no
 * code is shown there.
 */
export type PairingStatus = (typeof STATUSES)[number];

/** Payload of PAIR_REPLY. */
export interface PairingReply {
  readonly status: PairingStatus;
  /** Wrong codes that may still be tried. */
  readonly guessesLeft: number;
  /** The responder's share; empty unless `status` is `share`. */
  readonly share: Uint8Array;
}

/** PAIRING §4.2: status (1), guesses left (1), the share if there is one (32). */
export function encodePairingReply(reply: PairingReply): Uint8Array {
  const bytes = new Uint8Array(2 + reply.share.length);
  bytes[0] = STATUSES.indexOf(reply.status);
  bytes[1] = reply.guessesLeft;
  bytes.set(reply.share, 2);
  return bytes;
}

/** Reads the payload of PAIR_REPLY. @throws DecodeError for an unknown status or a wrong length. */
export function decodePairingReply(payload: Uint8Array): PairingReply {
  const reader = new ByteReader(payload);
  const code = reader.uint8();
  if (code >= STATUSES.length) throw new DecodeError(`unknown pairing status ${code}`, 0);
  const status = STATUSES[code];
  const guessesLeft = reader.uint8();
  const share = reader.copy(status === "share" ? SHARE_BYTES : 0);
  reader.finish();
  return { status, guessesLeft, share };
}
