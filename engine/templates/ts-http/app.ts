addEventListener('fetch', (event) => {
  const { request, respondWith } = event as FetchEvent;
  respondWith.call(event, handle(request));
});

function handle(request: Request): Response {
  const { pathname } = new URL(request.url);
  return new Response(`Hello from TypeScript, at ${pathname}\n`, { headers: { 'content-type': 'text/plain' } });
}
