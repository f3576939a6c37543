/** Handshake packets as observable facts. */
import { DecodeError } from "../../base/errors.ts";
import type { HandshakePacketName, TransportEvent } from "../../events/event.ts";
import { decodeLongPacket, LONG_TYPE } from "../../wire/header.ts";

const NAMES: Readonly<Record<number, HandshakePacketName>> = {
  [LONG_TYPE.init]: "init",
  [LONG_TYPE.reply]: "reply",
  [LONG_TYPE.finish]: "finish",
  [LONG_TYPE.retry]: "retry",
  [LONG_TYPE.versions]: "versions",
};

/** The event of a long-header datagram; what does not parse is `other`. */
export function handshakePacketEvent(
  type: "handshake-packet-sent" | "handshake-packet-received",
  datagram: Uint8Array,
): TransportEvent {
  return { type, packet: nameOf(datagram), sizeBytes: datagram.length };
}

function nameOf(datagram: Uint8Array): HandshakePacketName {
  try {
    return NAMES[decodeLongPacket(datagram, 0, datagram.length).type] ?? "other";
  } catch (error) {
    if (error instanceof DecodeError) return "other";
    throw error;
  }
}
