/** From a code to the pre-shared key of a handshake: what both sides of a pairing compute alike. */
import { concatBytes } from "../../base/bytes.ts";
import { encodeUtf8 } from "../../base/utf8.ts";
import type { CryptoProvider } from "../crypto.ts";
import type { Pake, PakeRun } from "./pake.ts";

const CHANNEL = encodeUtf8("godwit pairing v1");
const PSK_LABEL = Uint8Array.of(...encodeUtf8("godwit pairing psk"), 1);

/** Data that each side's share is bound to: its role. PAIRING §3. */
const INITIATOR_DATA = encodeUtf8("initiator");
const RESPONDER_DATA = encodeUtf8("responder");

/** Begins one side of the exchange of the attempt with these two connection ids. */
export function startPairing(
  pake: Pake,
  code: Uint8Array,
  destinationId: Uint8Array,
  sourceId: Uint8Array,
): PakeRun {
  return pake.start(code, CHANNEL, concatBytes(destinationId, sourceId));
}

/** The 32-byte pre-shared key, or `undefined` if the peer's share is not valid. PAIRING §3. */
export function pairingSecret(
  crypto: CryptoProvider,
  run: PakeRun,
  peerShare: Uint8Array,
  isInitiator: boolean,
): Uint8Array | undefined {
  const peer = { share: peerShare, data: isInitiator ? RESPONDER_DATA : INITIATOR_DATA };
  const key = run.finish(peer, isInitiator, isInitiator ? INITIATOR_DATA : RESPONDER_DATA);
  return key === undefined ? undefined : crypto.hmacBlake2b(key, PSK_LABEL).slice(0, 32);
}
