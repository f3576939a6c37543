/** The one place that chooses a socket. */
import type { DatagramSocket } from "../../transport/socket.ts";
import { openDgramSocket } from "./dgram.ts";
import { nativeBinding } from "./native-loader.ts";
import { openNativeSocket } from "./native.ts";
import type { SocketOptions } from "./socket-options.ts";

/**
 * Opens and binds a UDP socket: the addon's where it loads, else node:dgram's. Both behave the same.
 *
 * @throws GodwitError PORT_IN_USE or CONFIGURATION when it cannot be bound.
 */
export async function openSocket(options: SocketOptions = {}): Promise<DatagramSocket> {
  const binding = nativeBinding();
  return binding === undefined ? await openDgramSocket(options) : openNativeSocket(binding, options);
}
