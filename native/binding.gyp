{
  # One Node-API module for Linux. OpenSSL and libuv are the running node's own: their symbols are
  # exported by the executable, so nothing is linked here.
  "targets": [
    {
      "target_name": "godwit_native",
      "sources": ["src/addon.c", "src/arguments.c", "src/packet_key.c", "src/file_now.c", "src/pieces.c", "src/udp_open.c", "src/udp_send.c", "src/udp_receive.c"],
      "defines": ["NAPI_VERSION=9", "_GNU_SOURCE"],
      "cflags": ["-std=c11", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Wno-unused-parameter", "-fvisibility=hidden"],
      "cflags!": ["-O3", "-fno-omit-frame-pointer"]
    }
  ]
}
