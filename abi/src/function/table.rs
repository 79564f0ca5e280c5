//! The limits of a function, one row each. Owns no fds.

/// Calls the macro `$make` with the row of every limit, in the order in which they are shown.
///
/// A row is all that there is to say of a limit:
///
/// ```text
/// /// What it limits: in `--help`, in the OpenAPI document, in rustdoc.
/// FIELD: TYPE,                in `FunctionLimits`, in manifests and in answers of the control API
///     option "NAME" = KEY: VALUE,  `--NAME`; the key in sockhop.toml and in the JSON of a deploy;
///                                  `Size`, `Time` or `u32`, which is also the limit's unit
///     default AMOUNT,
///     range LEAST..=MOST,
///     follows KEY;                 optional: the option that it is like when it is not given
/// ```
///
/// To add a limit, add its row here, where it is enforced a test, and its row in `guide/limits.md`,
/// which [`super::limits`]'s tests compare with this one.
macro_rules! for_each_limit {
    ($make:ident) => {
        $make! {
            /// Memory of one instance.
            memory_bytes_max: u64,
                option "memory" = memory: Size,
                default 64 * MIB,
                // From one page to what a 32-bit memory can address.
                range 64 * KIB..=limits::MEMORY_BYTES_MAX;
            /// Wall time of one invocation.
            timeout_ms: u32,
                option "timeout" = timeout: Time,
                default 30 * SECOND,
                range 10..=15 * MINUTE;
            /// Processor time of one invocation.
            cpu_time_ms: u32,
                option "cpu-time" = cpu_time: Time,
                default 30 * SECOND,
                range 10..=15 * MINUTE,
                follows timeout;
            /// Elements of one instance's tables together.
            table_elements_max: u32,
                option "table-elements" = table_elements: u32,
                default 20_000,
                range 1..=limits::TABLE_ELEMENTS_MAX.into();
            /// Core instances in one instance.
            // The program, its adapters and shims.
            core_instances_max: u32,
                option "core-instances" = core_instances: u32,
                default 30,
                range 1..=limits::CORE_INSTANCES_MAX.into();
            /// A request's body.
            // A longer one is answered 413.
            request_body_bytes_max: u64,
                option "request-body" = request_body: Size,
                default 10 * MIB,
                range 0..=u64::MAX;
            /// A reply's status line and headers.
            // At least a status line and a few headers.
            reply_head_bytes_max: u32,
                option "reply-head" = reply_head: Size,
                default 64 * KIB,
                range KIB..=MIB;
            /// What one invocation may write to stdout and to stderr.
            // The rest is dropped, and the log says so.
            log_bytes_max: u32,
                option "log-size" = log_size: Size,
                default 256 * KIB,
                range 0..=64 * MIB;
            /// Invocations at a time, on all workers together.
            concurrency_max: u32,
                option "concurrency" = concurrency: u32,
                default 1000,
                range 1..=100_000;
            /// Requests that may wait for one of them to end.
            // On all workers together.
            queue_max: u32,
                option "queue" = queue: u32,
                default 1000,
                range 0..=100_000;
            /// How long each may wait.
            queue_timeout_ms: u32,
                option "queue-timeout" = queue_timeout: Time,
                default 10 * SECOND,
                range 10..=15 * MINUTE;
            /// Outgoing requests at a time, in each worker.
            // Until the bodies of their replies have ended; more fail at once. As many connections
            // again may be kept.
            outbound_requests_max: u32,
                option "outbound-requests" = outbound_requests: u32,
                default 64,
                range 1..=10_000;
            /// Keys in a bucket that the function writes to.
            // Of one that other functions write to as well, each by its own limit.
            kv_keys_max: u32,
                option "kv-keys" = kv_keys: u32,
                default 100_000,
                range 0..=10_000_000;
            /// Keys and values in a bucket that the function writes to.
            kv_bytes_max: u64,
                option "kv-size" = kv_size: Size,
                default 64 * MIB,
                range 0..=64 * 1024 * MIB;
            /// Operations on buckets in one invocation.
            kv_calls_max: u32,
                option "kv-calls" = kv_calls: u32,
                default 1000,
                range 0..=1_000_000;
            /// Attempts at an asynchronous invocation of the function.
            // Then it is a dead letter.
            job_attempts_max: u32,
                option "job-attempts" = job_attempts: u32,
                default 3,
                range 1..=100;
            /// How old an asynchronous invocation may become.
            job_age_ms: u32,
                option "job-age" = job_age: Time,
                default 6 * 60 * MINUTE,
                range MINUTE..=14 * 24 * 60 * MINUTE;
            /// The pause after its first attempt, which doubles with each.
            // Up to an hour, and a fifth more or less.
            job_pause_ms: u32,
                option "job-pause" = job_pause: Time,
                default MINUTE,
                range SECOND..=60 * MINUTE;
            /// Processes of a native function at a time.
            processes_max: u32,
                option "processes" = processes: u32,
                default 10,
                range 1..=limits::PROCESSES_MAX.into();
            /// Processes of a native function that are kept although nothing calls it.
            processes_min: u32,
                option "processes-min" = processes_min: u32,
                default 0,
                range 0..=limits::PROCESSES_MAX.into();
            /// Requests that one process of a native function has at a time.
            // 0 is as its kind has it (`FunctionLimits::process_requests`).
            process_requests_max: u32,
                option "process-requests" = process_requests: u32,
                default 0,
                range 0..=1000;
            /// How long a process of a native function may take until it is ready.
            init_timeout_ms: u32,
                option "init-timeout" = init_timeout: Time,
                default 10 * SECOND,
                range 10..=15 * MINUTE;
            /// How long a process of a native function is kept without a request.
            process_idle_ms: u32,
                option "process-idle" = process_idle: Time,
                default MINUTE,
                range 10..=24 * 60 * MINUTE;
            /// How long a process of a native function may take to end after SIGTERM.
            process_grace_ms: u32,
                option "process-grace" = process_grace: Time,
                default 10 * SECOND,
                range 0..=10 * MINUTE;
            /// Threads and subprocesses of one process of a native function.
            threads_max: u32,
                option "threads" = threads: u32,
                default 1024,
                range 1..=32_768;
            /// What one process of a native function may have in /tmp.
            tmp_bytes_max: u64,
                option "tmp" = tmp: Size,
                default 512 * MIB,
                range MIB..=10 * 1024 * MIB;
        }
    };
}

pub(super) use for_each_limit;
