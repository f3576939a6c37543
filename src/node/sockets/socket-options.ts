/** What every kind of socket is opened with, and how the system's refusals are told. */
import { GodwitError } from "../../base/errors.ts";

/** Where to listen, and how much the kernel may buffer. */
export interface SocketOptions {
  /** IP address in text; by default every address of both families (`::`, or `0.0.0.0` without IPv6). */
  readonly host?: string;
  /** UDP port; 0, the default, takes a free one. */
  readonly port?: number;
  /** Receive buffer to ask the kernel for; by default RECEIVE_BUFFER_BYTES. */
  readonly receiveBufferBytes?: number;
}

/**
 * Kernel buffer asked for to receive into: at 1 Gbit/s it holds 128 ms of datagrams, longer than a pause for
 * garbage collection or a slow disk call, and two of the largest ones from each of a hundred senders. Without
 * a privilege the system's own limit (`net.core.rmem_max`, 4 MiB or less) applies.
 */
export const RECEIVE_BUFFER_BYTES = 16 * 1024 * 1024;

/** Kernel buffer asked for to send from. What waits there delays all that is sent later: SEND_BUFFER_MAX of native/src/udp_open.c. */
export const SEND_BUFFER_BYTES = 4 * 1024 * 1024;

/** The failure to tell a user when a socket could not be bound. */
export function bindFailure(cause: unknown, host: string, port: number): GodwitError {
  const code = (cause as { code?: unknown } | undefined)?.code;
  const where = `UDP port ${port} of ${host}`;
  switch (code) {
    case "EADDRINUSE":
      return new GodwitError(
        "PORT_IN_USE",
        `${where} is in use by another program: stop it or choose another port with --listen`,
        { cause },
      );
    case "EACCES":
    case "EPERM":
      return new GodwitError(
        "CONFIGURATION",
        `not permitted to listen on ${where}: choose a port above 1023`,
        { cause },
      );
    case "EADDRNOTAVAIL":
    case "EAFNOSUPPORT":
      return new GodwitError(
        "CONFIGURATION",
        `cannot listen on ${host}: this machine does not have that address; leave it out to listen on all`,
        { cause },
      );
    default:
      return new GodwitError("CONFIGURATION", `cannot listen on ${where}: ${String(code ?? cause)}`, {
        cause,
      });
  }
}

/** The failure to tell a user who named a host where only an IP address can be listened on. */
export function notAnAddress(host: string): GodwitError {
  return new GodwitError(
    "CONFIGURATION",
    `cannot listen on ${JSON.stringify(host)}: it is not an IP address of this machine`,
  );
}
