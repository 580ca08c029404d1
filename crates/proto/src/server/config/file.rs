//! Reads the files of a configuration. It depends on no other module.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{OFlags, makedev};

/// The maximum size of a file. A larger one is an error: the path is probably wrong.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Reads a file as text. `/dev/null` is an empty one.
///
/// A pipe is an error: it can be read only once, and a reload that reads it again gets nothing, or waits forever. The
/// opened file is checked and not the path, which may be a symbolic link and may change in between.
///
/// # Errors
///
/// Fails if the file cannot be read, is larger than 1 MiB, is not UTF-8 or is not a regular file.
pub fn read_text(path: &Path) -> io::Result<String> {
    // Without `NONBLOCK`, the open of a pipe waits for its writer.
    let file = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    let metadata = file.metadata()?;
    let kind = metadata.file_type();
    let is_null = kind.is_char_device() && metadata.rdev() == makedev(1, 3);
    if !kind.is_file() && !is_null {
        let kind = if kind.is_dir() {
            "directory"
        } else if kind.is_fifo() {
            "pipe"
        } else {
            "device"
        };
        let error = format!("it is a {kind}; it must be a regular file, because a reload reads it again");
        return Err(io::Error::other(error));
    }
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("the file is larger than {MAX_FILE_BYTES} bytes")));
    }
    Ok(text)
}
