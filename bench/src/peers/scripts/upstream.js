// What the guest fetch does with stream=1: asks the URL of the query, and passes the reply on.
export default {
  fetch(request) {
    return fetch(new URL(request.url).searchParams.get("url"));
  },
};
