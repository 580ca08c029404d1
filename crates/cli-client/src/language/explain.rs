//! Messages for connection errors.
//!
//! The English messages come from `proto`. The Chinese ones are here, one per kind, so that a missing one does not
//! compile.

use std::io;

use proto::client::tls::AlertDescription;
use proto::client::{Error, ErrorKind, HandshakeError, Phase, Violation};
use proto::endpoint::InvalidEndpoint;
use proto::pem::PemError;
use proto::wire::power::client::{ClientCodec, ReplyError};

use super::{Language, texts};

/// Returns the message of a connection error.
pub(crate) fn error(error: &Error) -> String {
    match Language::current() {
        Language::English => error.to_string(),
        Language::Chinese => format!("{}：{}", error.address, chinese_error(&error.kind, error.phase)),
    }
}

fn chinese_error(kind: &ErrorKind, phase: Phase) -> String {
    match (kind, phase) {
        (ErrorKind::TimedOut(timeout), Phase::Resolve) => format!("{timeout:?} 内未能解析出地址"),
        (ErrorKind::TimedOut(timeout), Phase::Connect) => format!("{timeout:?} 内未能连上"),
        (ErrorKind::TimedOut(timeout), Phase::Handshake) => format!("{timeout:?} 内未能完成 TLS 握手"),
        (ErrorKind::TimedOut(timeout), Phase::Send) => format!("{timeout:?} 内未能发出请求"),
        (ErrorKind::TimedOut(timeout), Phase::Reply) => format!("{timeout:?} 内没有应答"),
        (ErrorKind::TimedOut(timeout), Phase::End) => format!("{timeout:?} 内只收到应答的开头，没有结尾"),
        // The error of `proto`, not of the system.
        (ErrorKind::Io(cause), Phase::Resolve) if cause.kind() == io::ErrorKind::NotFound => {
            "它没有与源地址同一 IP 版本的地址".to_owned()
        }
        (ErrorKind::Io(cause), Phase::Resolve) => format!("无法解析主机名：{}", resolver(cause)),
        (ErrorKind::Io(cause), Phase::Connect) => format!("无法连接：{}", system(cause)),
        (ErrorKind::Io(cause), Phase::Handshake) => format!("TLS 握手失败：{}", system(cause)),
        (ErrorKind::Handshake(reason), _) => format!("TLS 握手失败：{}", chinese_handshake(reason)),
        (ErrorKind::Io(cause), Phase::Send) => format!("无法发送请求：{}", system(cause)),
        (ErrorKind::Io(cause), Phase::Reply) => format!("收到应答之前连接断开：{}", system(cause)),
        (ErrorKind::Io(cause), Phase::End) => format!("应答中途连接断开：{}", system(cause)),
        (ErrorKind::Protocol(violation @ Violation::NoReply), _) => format!("服务器{}", chinese_violation(violation)),
        (ErrorKind::Protocol(violation), _) => format!("服务器违反了协议：{}", chinese_violation(violation)),
        (ErrorKind::Full, _) => "服务器已满，或达到单个客户端的上限，请稍后再试".to_owned(),
        (ErrorKind::Closed, _) => "服务器关闭了连接：空闲太久，或正在停止".to_owned(),
        (ErrorKind::OutcomeUnknown, _) => "服务器在应答之前关闭了连接；这一拳的结果未知".to_owned(),
    }
}

fn chinese_violation(violation: &Violation) -> String {
    match violation {
        Violation::NoReply => "没有应答就关闭了连接".to_owned(),
        Violation::Truncated => "没有 close_notify 就结束了 TLS 连接，应答可能不完整".to_owned(),
        Violation::Tls(error) => format!("TLS 连接出错：{error}"),
        Violation::Unsolicited => "应答比请求多".to_owned(),
        Violation::InvalidReply(ReplyError::Malformed(quoted)) => format!("{quoted} 不是 power 协议的有效应答"),
        Violation::InvalidReply(ReplyError::UnexpectedEof(quoted)) => format!("应答在 {quoted} 之后中断"),
        Violation::InvalidReply(ReplyError::TooLong) => format!("应答超过 {} 字节", ClientCodec::MAX_REPLY_LEN),
        Violation::InvalidReply(ReplyError::Io(cause)) => system(cause),
        Violation::InvalidByte(unknown) => format!("{unknown} 不是 rps 协议的有效应答"),
        Violation::ExtraBytes { first, more } => format!("出一拳却收到多个应答：'{first}' 之后还有 {more}"),
        Violation::RejectedMove(mv) => format!("它把 {} 当作无效的出拳", texts::move_name(*mv)),
        Violation::AcceptedInvalidMove => "它把无效的 '?' 当作出拳".to_owned(),
    }
}

fn chinese_handshake(reason: &HandshakeError) -> String {
    match reason {
        HandshakeError::UnknownAuthority => "服务器的证书不是由受信任的机构签发的".to_owned(),
        HandshakeError::WrongName(name) => format!("服务器的证书对 {name} 无效"),
        HandshakeError::Expired => "服务器的证书已过期".to_owned(),
        HandshakeError::NotValidYet => "服务器的证书尚未生效".to_owned(),
        HandshakeError::WrongPurpose => "服务器的证书不能用于服务器".to_owned(),
        HandshakeError::IsAuthority => "服务器的证书是签发机构的证书，不是服务器的".to_owned(),
        HandshakeError::UnusableKey => "服务器证书的密钥无法使用，或服务器没有这个密钥".to_owned(),
        HandshakeError::ClientCertificate(alert) => format!("服务器要求它所信任的客户端证书（警报 {alert:?}）"),
        HandshakeError::RejectedCertificate(alert) => {
            format!("服务器拒绝客户端的证书{}（警报 {alert:?}）", chinese_rejection(*alert))
        }
        HandshakeError::Refused => "服务器拒绝：没有共同的密码套件，或要求客户端证书".to_owned(),
        HandshakeError::NotTls => "服务器不使用 TLS".to_owned(),
        HandshakeError::NoCommonVersion => "服务器既不支持 TLS 1.2 也不支持 TLS 1.3".to_owned(),
        HandshakeError::Closed => {
            "握手完成之前服务器关闭了连接：可能已满，或需要 PROXY 协议头，或不使用 TLS".to_owned()
        }
        HandshakeError::NoAuthorities(None) => "系统中没有受信任机构的证书".to_owned(),
        HandshakeError::NoAuthorities(Some(path)) => format!("{path} 中没有受信任机构的证书"),
        HandshakeError::UnreadableAuthorities { path, error } => {
            format!("无法读取受信任机构的证书：{path}：{}", system(error))
        }
        HandshakeError::InvalidName(name) => format!("没有证书能对名称 '{name}' 有效"),
        HandshakeError::Other(error) => error.to_string(),
    }
}

fn chinese_rejection(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::CertificateExpired => "：已过期或尚未生效",
        AlertDescription::UnknownCA | AlertDescription::DecryptError => "：不是由它信任的机构签发的",
        AlertDescription::UnsupportedCertificate => "：不能用于客户端",
        AlertDescription::CertificateRevoked => "：已被吊销",
        _ => "",
    }
}

/// Returns why a file with certificates or a key is invalid.
pub(crate) fn file(error: &PemError) -> String {
    match (Language::current(), error) {
        (_, PemError::Read(cause)) => system(cause),
        (Language::English, error) => error.to_string(),
        (_, PemError::TooLong) => "超过 1 MiB".to_owned(),
        (_, PemError::Malformed(cause)) => format!("不是有效的 PEM：{cause}"),
        (_, PemError::Truncated(section)) => format!("不完整：缺少 {section} 一段的 END 行"),
        (_, PemError::NoCertificate) => "其中没有 PEM 格式的证书".to_owned(),
        (_, PemError::NoKey) => "其中没有 PEM 格式的未加密私钥".to_owned(),
        (_, PemError::EncryptedKey) => "私钥是加密的；可用 openssl pkey -in FILE -out NEW 解密".to_owned(),
        (_, PemError::InvalidCertificate) => "其中有无效的证书".to_owned(),
        (_, PemError::InvalidKey(cause)) => format!("无法使用这个私钥：{cause}"),
        (_, PemError::Mismatch) => "与证书不匹配".to_owned(),
    }
}

/// Returns why a text is not an endpoint, and which endpoints are valid.
pub(crate) fn endpoint(error: InvalidEndpoint) -> String {
    let reason = match (Language::current(), error) {
        (_, InvalidEndpoint::SocketName) => return texts::not_for_clients(),
        (Language::English, error) => error.to_string(),
        (_, InvalidEndpoint::Port) => "缺少端口，或端口无效".to_owned(),
        (_, InvalidEndpoint::Host) => "主机不是名称、IPv4 地址，也不是方括号中的 IPv6 地址".to_owned(),
        (_, InvalidEndpoint::NotIpAddress) => "主机不是 IP 地址".to_owned(),
        (_, InvalidEndpoint::Scheme) => "协议名未知".to_owned(),
        (_, InvalidEndpoint::BarePath) => "套接字的路径前要有 'unix:'".to_owned(),
        (_, InvalidEndpoint::PathLength(bytes)) => format!("套接字的路径为 1 到 107 字节，这个有 {bytes} 字节"),
        (_, InvalidEndpoint::NotPrintable) => "有不可打印的字符".to_owned(),
    };
    texts::not_an_endpoint(reason)
}

/// Translates the most common errors of getaddrinfo(3), which have no number.
fn resolver(cause: &io::Error) -> String {
    let message = cause.to_string();
    if message.ends_with("Name or service not known") || message.ends_with("No address associated with hostname") {
        "没有这个主机名".to_owned()
    } else if message.ends_with("Temporary failure in name resolution") {
        "域名服务器没有应答，请稍后再试".to_owned()
    } else {
        system(cause)
    }
}

/// Translates the most common system errors; the others keep their message.
pub(crate) fn system(cause: &io::Error) -> String {
    if Language::current() == Language::English || cause.raw_os_error().is_none() {
        return cause.to_string();
    }
    match cause.kind() {
        io::ErrorKind::ConnectionRefused => "连接被拒绝".to_owned(),
        io::ErrorKind::ConnectionReset => "连接被重置".to_owned(),
        io::ErrorKind::BrokenPipe => "管道已断开".to_owned(),
        io::ErrorKind::NotFound => "文件不存在".to_owned(),
        io::ErrorKind::PermissionDenied => "没有权限".to_owned(),
        io::ErrorKind::HostUnreachable => "主机不可达".to_owned(),
        io::ErrorKind::NetworkUnreachable => "网络不可达".to_owned(),
        io::ErrorKind::AddrNotAvailable => "没有可用的本地端口".to_owned(),
        _ => cause.to_string(),
    }
}
