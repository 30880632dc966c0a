from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from longboard.accounts import views

urlpatterns = [
    path("", views.profile, name="profile"),
    path("sign-up/", views.sign_up, name="sign-up"),
    path(
        "sign-in/",
        LoginView.as_view(template_name="accounts/sign_in.html", redirect_authenticated_user=True),
        name="sign-in",
    ),
    path("sign-out/", LogoutView.as_view(), name="sign-out"),
    path("tokens/", views.tokens, name="tokens"),
    path("tokens/<int:token_id>/revoke/", views.revoke_token, name="revoke-token"),
]
