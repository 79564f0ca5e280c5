const std = @import("std");

pub fn main(init: std.process.Init) !void {
    var buffer: [1024]u8 = undefined;
    var stdout: std.Io.File.Writer = .init(.stdout(), init.io, &buffer);
    const path = init.environ_map.get("PATH_INFO") orelse "";
    try stdout.interface.print("Hello from Zig, at {s}\n", .{path});
    try stdout.interface.flush();
}
