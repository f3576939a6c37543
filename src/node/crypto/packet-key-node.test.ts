import { packetKeyConformance } from "../../../test/conformance/packet-key.suite.ts";
import { nodePacketKey } from "./packet-key-node.ts";

packetKeyConformance("node:crypto", nodePacketKey);
