// Tells the page that opened this window how it went. The message goes to the one origin the application
// registered: a browser delivers it to no other, whoever opened the window.
(() => {
  const answer = document.getElementById("answer").dataset;
  const message = { type: "authpipe.connect", connect_session_id: answer.session };
  if (answer.completionCode) {
    message.completion_code = answer.completionCode;
  } else {
    message.error = answer.error;
  }
  if (window.opener) {
    window.opener.postMessage(message, answer.target);
    if (answer.closes) window.close();
  } else if (answer.completionCode) {
    // Some provider's page cut the two windows apart, so there is nobody to tell: go by address instead.
    window.location.replace(document.getElementById("way-back").href);
  }
})();
